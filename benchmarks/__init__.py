"""What the documentation's figures come from: each script prints some."""
