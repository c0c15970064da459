"""The bond by which nav2_lifecycle_manager notices that the node has died.

As Nav2's own nodes keep it (nav2_util::LifecycleNode): on the topic ``bond``, under the node's name, from activation on
until deactivation, and never broken from this side because the manager is silent.
"""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode

try:
    from bondpy.bondpy import Bond
except ImportError:  # the ROS 2 wheels of PyPI lack it
    Bond = None

_NEVER_S = 1e7


class ManagerBond:
    """Begun and ended in the executor's thread, any number of times; does nothing where bondpy is not installed."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._bond: Any = None

    def begin(self, period_s: float) -> None:
        """Send heartbeats, for some seconds or as long as a manager answers; 0 sends none."""
        if period_s <= 0.0:
            return
        if Bond is None:
            self._node.get_logger().info(
                "no bond, as bondpy is not installed: nav2_lifecycle_manager needs bond_timeout: 0.0"
            )
            return
        self._bond = Bond(self._node, "bond", self._node.get_name())
        self._bond.heartbeat_period = period_s
        # bond_disable_heartbeat_timeout, by which Nav2 says the same, is declared anew by each bond that looks it up.
        self._bond.heartbeat_timeout = _NEVER_S
        self._bond.start()

    def end(self) -> None:
        """Tell the manager, if there is one."""
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.shutdown()
            # The node still lists what the bond has destroyed.
            self._node.destroy_subscription(bond.sub)
            self._node.destroy_publisher(bond.pub)
