"""What is said in TGI's log."""

import functools


@functools.cache
def tell_once(message: str) -> None:
    """Log a sentence on rank 0, once.

    TGI's launcher shows nothing of a shard but what loguru writes (launcher/src/main.rs:1353, 3.3.7), and of that what
    TGI's own modules write (cli.py:66), as `log_master` is.
    """
    from loguru import logger  # type: ignore[import-not-found]
    from text_generation_server.utils.log import log_master

    log_master(logger.info, message)
