"""What goes wrong for reasons the user can mend, and what ends a process on purpose."""

import signal


class UserError(Exception):
    """One message for the user: where, what was found, what is allowed. Shown without a traceback."""


class OutOfMemory(UserError):
    """The memory of a device does not suffice, now that others may use it too."""


class Interrupted(Exception):
    """A signal ended the training; the run's checkpoint is written. `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(f"{signal.Signals(number).name} came; the run goes on from its checkpoint next time")
        self.number = number
