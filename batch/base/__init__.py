"""What every room stands on: errors, atomic writes, the disk, the machine, words for people."""
