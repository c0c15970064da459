"""The style sheet of the reports: light, or dark where the reader prefers that."""

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1c2128; --quiet: #5d6673; --rule: #dde1e7;
  --0: #0b66b8; --1: #c4480c; --2: #0a7d57; --3: #9b3fa0; --4: #9a7400; --5: #0f7f95; --6: #b3305c; --7: #4f5b6b; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1d2126; --text: #e6e9ed; --quiet: #9aa4b1;
  --rule: #343a43; --0: #5aa9f0; --1: #ff9255; --2: #46c795; --3: #d98ade; --4: #e0b83c; --5: #4cc3d9; --6: #f27ba3;
  --7: #a9b4c2; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { margin: 0; font-size: 28px; line-height: 1.2; }
h2 { margin: 0 0 4px; font-size: 17px; }
p { margin: 4px 0; }
.quiet, figcaption { color: var(--quiet); font-size: 13px; }
.tiles, .columns { display: grid; gap: 14px; margin: 16px 0; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.columns { grid-template-columns: repeat(auto-fit, minmax(min(100%, 550px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; min-width: 0; }
.tile b { display: block; font-size: 28px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile { line-height: 1.35; } .first { border-color: var(--0); border-width: 2px; }
.wide { margin: 14px 0; }
svg { display: block; width: 100%; max-width: 780px; height: auto; }
svg text { fill: var(--quiet); font-size: 13px; font-variant-numeric: tabular-nums; }
svg text.name { fill: var(--text); }
svg text.value { font-size: 12.5px; }
.scroll > svg { min-width: 515px; }
.grid { stroke: var(--rule); } .division { stroke: var(--quiet); stroke-dasharray: 3 4; }
polyline { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.faint { stroke-width: 1; opacity: .3; }
circle, rect.bar { fill: var(--c); }
.c0 { --c: var(--0); } .c1 { --c: var(--1); } .c2 { --c: var(--2); } .c3 { --c: var(--3); }
.c4 { --c: var(--4); } .c5 { --c: var(--5); } .c6 { --c: var(--6); } .c7 { --c: var(--7); }
.legend, .classes { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 4px 0 10px; padding: 0; list-style: none;
  font-size: 13px; }
.legend li::before { content: ""; display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 6px; background: var(--c); }
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 6px; border: 1px solid var(--rule); }
.example { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 8px; margin: 12px 0; }
figure { margin: 0; } img { display: block; width: 100%; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td { overflow-wrap: anywhere; } th { font-weight: 600; white-space: nowrap; }
pre { font: 12.5px/1.5 ui-monospace, monospace; }
summary { cursor: pointer; font-weight: 600; } summary .quiet { font-weight: 400; }
.scroll { overflow-x: auto; scrollbar-width: thin; }
.scroll td { overflow-wrap: break-word; }
.scroll tr > :first-child { position: sticky; left: 0; z-index: 1; background: var(--card); }
.notice { border-left: 4px solid var(--1); }
"""
