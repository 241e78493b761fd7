"""What stages hand to each other: corpus, catalog, features, labels, splits."""
