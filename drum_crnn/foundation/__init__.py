"""What every room stands on, and nothing about drums: errors, params, files, processes."""
