"""What every benchmark does: run, watch, record."""
