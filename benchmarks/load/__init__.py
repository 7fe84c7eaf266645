"""What the extraction benchmark starts in processes of their own: the load server, and each contestant."""
