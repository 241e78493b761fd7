"""Beats, bars and tempo changes, estimated from drum onsets."""
