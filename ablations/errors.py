"""What goes wrong for reasons the user can mend."""


class UserError(Exception):
    """One message for the user: where, what was found, what is allowed. Shown without a traceback."""
