"""A simulated Stripe: an account whose business plays out on a simulated clock, behind Stripe's HTTP API."""
