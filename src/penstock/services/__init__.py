"""What goes on by itself: the scheduler, and the processes that `penstock up` keeps alive."""
