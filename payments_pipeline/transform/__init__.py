"""From bronze to gold: the model files and the engine that runs them."""
