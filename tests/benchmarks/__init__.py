"""What a request costs, as ratios measured in one run. `make bench`; never part of the suite."""
