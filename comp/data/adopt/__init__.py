"""Find out what the files of a competition mean: its images, labels, groups and task, each with its evidence."""
