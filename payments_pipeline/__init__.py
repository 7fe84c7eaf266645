"""Your Stripe data as an audited medallion lakehouse."""
