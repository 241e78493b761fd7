"""From a corpus to training data: the work of catalog, extract, label and split."""
