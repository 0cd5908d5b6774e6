"""How the process keeps its memory."""

import ctypes
import platform


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: returned to the kernel at every step, it halves the speed of convolutions."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)
