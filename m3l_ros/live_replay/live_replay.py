"""Replays through the running node, as `m3l_core.replay.replay.replay` does without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from m3l_core.bags.arrivals import Faults, no_faults
from m3l_core.bags.frame_sets import BagFrames
from m3l_core.bags.reader import Bag
from m3l_core.registration.cameras import seeing_camera
from m3l_core.replay.arguments import LiveOptions
from m3l_core.replay.arrival_log import ArrivalLog
from m3l_core.replay.bags import EngineChoice
from m3l_core.replay.label_images import LabelImages, LabelStore
from m3l_core.replay.measures.comparisons import Comparisons, Moment
from m3l_core.replay.recordings.sinks import Sink, sensors
from m3l_core.replay.replay import ReplayResult, ReplaySettings, label_distance_ns
from m3l_core.segmenter import Segmenter
from m3l_ros.live_replay.agreement import Agreement
from m3l_ros.live_replay.node import LiveNode, NodeInputs, attached_node, own_inputs, recorded_inputs, started_node
from m3l_ros.live_replay.outgoing import as_published
from m3l_ros.live_replay.run import LiveRun
from m3l_ros.node_client import NodeClient


class LiveReplay:
    """Plays bags into a node, which stays from one to the next where they need the same one.

    Args:
        engine: of the replay offline that the labels are compared with, and of the node if it is started here.
        domain_id: ROS domain.
        attach: play into the node that runs there.
        log: file for the log of a node that is started here.
    """

    def __init__(self, engine: EngineChoice, domain_id: int, attach: bool, log: Path) -> None:
        self._engine, self._domain_id, self._attach, self._log = engine, domain_id, attach, log
        self._opened = ExitStack()
        self._node: tuple[NodeClient, LiveNode] | None = None
        self._node_for: tuple[ReplaySettings, NodeInputs] | None = None

    def __call__(
        self,
        bag: Bag,
        topics: Mapping[str, str],
        segmenter: Segmenter,
        faults: Faults = no_faults,
        settings: ReplaySettings | None = None,
        *,
        scenario: str = "none",
        truth: LabelImages | None = None,
        full: LabelImages | None = None,
        keep: LabelStore | None = None,
        sinks: Sequence[Sink] = (),
        advance: Callable[[], None] = lambda: None,
    ) -> ReplayResult:
        """Play a bag in real time, then replay it offline to compare the labels.

        Scores are of the frames that were labelled both ways. ``keep`` takes the offline labels, which are there for
        every frame; ``sinks`` are of offline replays and get nothing; all else is as in an offline replay.

        Raises:
            DatasetError: the bag has no message on these topics, or ground truth and color differ in size.
            EngineError: the engine cannot run.
            M3LError: the node cannot be started or found, has died or fallen silent, or is not set up as the replay.
            OSError: the labels cannot be kept on disk.
        """
        settings = settings or ReplaySettings()
        inputs = recorded_inputs(bag, topics) if self._attach else own_inputs(bag, topics)
        run = LiveRun(topics, settings, sensors(segmenter.description, topics))
        camera = seeing_camera(bag, topics)
        info_topic = camera.info_topic if camera is not None and self._attach else "/color/camera_info"
        told = None if camera is None else (info_topic, camera.info)
        with LabelStore() as masks:
            try:
                client, node = self._node_of(settings, inputs, segmenter)
                run.play(bag, faults, client, node, inputs, masks, advance, told)
            except BaseException:
                self.close()  # the next bag needs a node that is not in the middle of this one
                raise
            compared = Comparisons(bag.name, segmenter.description, truth, full)
            self._compare(run, bag, topics, segmenter, faults, settings, masks, compared, keep)
        return run.result(bag.name, scenario, compared)

    def close(self) -> None:
        """Stop the node if it was started here."""
        self._node_for = self._node = None
        self._opened.close()

    def _node_of(
        self, settings: ReplaySettings, inputs: NodeInputs, segmenter: Segmenter
    ) -> tuple[NodeClient, LiveNode]:
        if self._node is None or self._node_for != (settings, inputs):
            self.close()
            self._node = self._opened.enter_context(
                attached_node(self._engine, settings, inputs, self._domain_id, segmenter)
                if self._attach
                else started_node(self._engine, settings, inputs, self._domain_id, self._log)
            )
            self._node_for = settings, inputs
        return self._node

    @staticmethod
    def _compare(
        run: LiveRun,
        bag: Bag,
        topics: Mapping[str, str],
        segmenter: Segmenter,
        faults: Faults,
        settings: ReplaySettings,
        masks: LabelStore,
        compared: Comparisons,
        keep: LabelStore | None,
    ) -> None:
        kinds = sensors(segmenter.description, topics)
        log = ArrivalLog(settings.stamps, settings.sync, tuple(kinds))
        agreement = Agreement(segmenter, settings.sync, run.live)
        frames = BagFrames(
            bag,
            topics,
            settings.sync,
            settings.health,
            lambda arrivals: map(as_published, faults(log.before_faults(arrivals))),
            agreement.arrived,
            kinds=kinds,
        )
        for frame_set in frames:
            reference = frame_set.reference_frame
            live = masks.nearest(reference.stamp_ns, within_ns=0)
            if live is None and keep is None:
                continue
            ids = segmenter.segment(frame_set).labels
            sent = run.sent[reference.modality, reference.stamp_ns]
            if keep is not None:
                keep.add(sent.recorded_stamp_ns, ids)
            if live is not None:
                agreement.compare(frame_set, live.ids, ids, frames.now_ns)
                within_ns = label_distance_ns(frames.synchronizer.report()[frame_set.reference], settings.sync)
                since_start_ns = frames.now_ns - log.start_ns
                moment = Moment(since_start_ns, sent.recorded_stamp_ns, within_ns, sent.edited)
                compared.add(frame_set, live.ids, moment)
        agreement.finish()


@contextmanager
def open_live_replay(engine: EngineChoice, options: LiveOptions) -> Iterator[LiveReplay]:
    """Replays into a node, in a ROS domain of its own unless one is named or there is a node already."""
    domain_id = options.domain_id
    if domain_id is None:
        domain_id = int(os.environ.get("ROS_DOMAIN_ID", 0)) if options.attach else 1 + os.getpid() % 100
    with ExitStack() as opened:
        folder = options.log_folder or Path(opened.enter_context(TemporaryDirectory(prefix="m3l_replay_")))
        replay = LiveReplay(engine, domain_id, options.attach, folder / "node.log")
        opened.callback(replay.close)
        yield replay
