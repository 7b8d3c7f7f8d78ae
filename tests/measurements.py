"""Measurements as manifests: settings of two sizes, and one setting alone."""

JOB = """\
name: costs
kind: measure
repeats: 3
grid:
  model: demo
  prompt: a fox
  steps: 1
  size: [512x512, 672x384]
  memory: [full, "vae_tiling(256, 192)", auto]
run: {min_free_disk: 1MB}
output: {format: webp}
"""

TILED = "vae_tiling(256, 192)"

ONE = JOB.replace("[512x512, 672x384]", "512x512").replace(f'[full, "{TILED}", auto]', "full")
"""One picture under one setting."""
