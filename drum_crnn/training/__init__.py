"""From training data to weights: the hand-written loop and all that it needs."""
