"""What the companion says of its runs: figures, manifest, claims, choices, theorems, benchmark."""
