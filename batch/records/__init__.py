"""What flows between the rooms: frozen values, no behaviour beyond turning into JSON and back.

Units: seconds for durations, bytes for sizes. Conversion to MiB happens where a number is printed.
"""
