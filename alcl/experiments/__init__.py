"""What trains, measures and compares: runs, sweeps, records, studies, and the statistics on them."""
