"""The commands of the DAG: each reads and writes what `dvc.yaml` tells it to."""
