"""Run the pipeline on one machine: one process, files in one directory."""
