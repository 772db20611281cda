"""The loop program: kernel calls over buffers in one arena. All that a backend sees."""
