"""Charts, frame and style of the pages that trainings and replays write."""
