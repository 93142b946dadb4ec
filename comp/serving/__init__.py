"""Answer about images that belong to no dataset, by the models, views and temperatures of a run or a submission."""
