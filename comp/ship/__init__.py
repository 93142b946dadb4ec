"""What leaves the house, and what comes back to it: a submission made again, a bundle that runs elsewhere."""
