"""A compact convolutional network for MNIST: its data, its training, its honest evaluation."""
