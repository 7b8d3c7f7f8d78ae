"""Models as data: what is known of them before any is loaded, and what diffusers' classes take."""
