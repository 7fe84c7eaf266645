"""Reading a Stripe-shaped API."""
