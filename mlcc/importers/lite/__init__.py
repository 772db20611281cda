"""TensorFlow Lite files: what they hold, sparse weights, branches and loops."""
