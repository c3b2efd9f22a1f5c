"""What each command does: one file per command, with one public function of the same name."""
