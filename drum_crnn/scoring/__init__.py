"""From predictions to scores: counting, sweeping thresholds, tuning, evaluation."""
