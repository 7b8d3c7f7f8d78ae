"""What other programs write into their pictures, as axes of a manifest; the same pixels are not promised."""
