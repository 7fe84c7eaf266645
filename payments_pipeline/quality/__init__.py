"""The gates between staging and publishing."""
