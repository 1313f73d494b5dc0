"""EchoApex: one vision foundation model for echocardiography that serves every task.

Research software, not a medical device: not for diagnosis or treatment.
"""

from echoapex.version import __version__

__all__ = ["__version__"]
