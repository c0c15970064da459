"""What a training says: on the console, in TensorBoard, in its report."""
