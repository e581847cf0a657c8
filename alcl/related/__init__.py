"""The neighbouring methods of notebooks 08 and 09: wrong labels and noisy inputs."""
