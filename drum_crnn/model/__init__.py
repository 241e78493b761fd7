"""From frames to onsets: the network, inference on windows, peak picking, the model file."""
