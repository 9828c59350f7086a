"""Everything that touches torch. Importing this package alone does not import it."""

from __future__ import annotations

import logging

# What bitsandbytes logs on CPUs about its own kernels; there is nothing that a user could do about it.
_CHATTER = ("Failed to load CPU gemm_4bit_forward", "MatMul8bitLt: inputs will be cast")


def _is_not_chatter(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_CHATTER)


# A filter holds for its own logger alone, not for those below it; and the first message comes at import.
for _name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
    logging.getLogger(_name).addFilter(_is_not_chatter)
