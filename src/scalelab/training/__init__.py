"""One run of training: loop, schedules, checkpoints, evaluation, noise scale."""
