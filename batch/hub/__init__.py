"""Models and LoRAs by name: folders of this machine, and the Hugging Face Hub with its cache."""
