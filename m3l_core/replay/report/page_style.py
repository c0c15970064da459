"""What the page of replays adds to the style sheet of all reports."""

STYLE = """
:root { --ok: #63b596; --stale: #e3a21a; --lost: #c22f2f; }
@media (prefers-color-scheme: dark) { :root { --ok: #2f8a69; --stale: #dca42a; --lost: #ff6b60; } }
.ok { --c: var(--ok); } .stale { --c: var(--stale); } .lost, .gap { --c: var(--lost); } .labels { --c: var(--0); }
.span { fill: none; stroke: var(--c); stroke-width: 11; }
.span.stale { stroke-width: 7; } .span.lost, .span.gap { stroke-width: 3; } .span.gap { stroke-dasharray: 3 2; }
.states li::before { vertical-align: middle; } .states .stale::before { height: 7px; }
.states .lost::before, .states .gap::before { height: 3px; width: 18px; }
.states .gap::before { background: repeating-linear-gradient(90deg, var(--c) 0 3px, transparent 3px 5px); }
.timeline { display: flex; } .timeline svg { max-width: none; }
.timeline svg.lanes { flex: 62 0 52px; min-width: 52px; position: sticky; left: 0; background: var(--card); }
.timeline svg.spans { flex: 1050 0 881px; min-width: 881px; }
.more { display: none; } @media (max-width: 1030px) { .more { display: block; text-align: right; } }
svg text.scenario { fill: var(--text); font-weight: 600; }
svg text.over { fill: var(--lost); stroke: var(--card); stroke-width: 7; paint-order: stroke; font-weight: 600; }
.notice ul { margin: 4px 0; padding-left: 20px; } .failed { border-left-color: var(--lost); }
.held { border-left-color: var(--ok); }
.figures th { vertical-align: bottom; } .figures td { overflow-wrap: normal; }
.figures td:first-child { min-width: 150px; }
.figures td, .figures th { padding-right: 10px; }
.figures td:is(:nth-child(3), :nth-child(5), :nth-child(7), :nth-child(10)) { padding-left: 14px; }
.figures th[colspan] { text-align: center; padding: 5px 10px 2px 14px; }
.several { grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); } .several h3 { margin: 0; }
h3 { font-size: 14px; } h3 .quiet { font-weight: 400; margin-left: 4px; }
.card details { border-top: 1px solid var(--rule); padding: 7px 0; }
.figures thead tr + tr > :first-child { position: static; }
.heat { font-size: 12px; width: auto; --most: 62%; --wrong: 75%; }
@media (prefers-color-scheme: dark) { .heat { --most: 48%; --wrong: 48%; } }
.heat th, .heat td { border: 0; padding: 3px 2px; }
.heat td { min-width: 30px; text-align: center; white-space: nowrap; font-variant-numeric: tabular-nums;
  background: color-mix(in srgb, var(--0) calc(var(--v, 0) * var(--most)), transparent); }
.heat .wrong { background: color-mix(in srgb, var(--1) calc(var(--v, 0) * var(--wrong)), transparent); }
.heat th.across { writing-mode: vertical-rl; transform: rotate(180deg); font-weight: 400; padding: 5px 2px; }
.heat tr.mean > * { border-top: 1px solid var(--rule); font-weight: 600; } .heat th { font-weight: 400; }
.heat tr > :first-child { padding-right: 8px; } .stack { display: grid; gap: 14px; align-content: start; min-width: 0; }
.frames { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 14px 18px;
  margin: 10px 0; }
.tops { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; font-size: 12px; color: var(--quiet); }
"""
