"""Receipts to what people read: CSV, contact sheet, HTML; and several runs compared."""
