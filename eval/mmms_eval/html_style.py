"""The look of the page: one style sheet for light and dark mode."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f5f6f8; --ink: #1b1e24; --faint: #5c6470; --line: #d9dde3;
  --c0: #0b62c4; --c1: #b24a00; --c2: #0a7a55; --c3: #8a2fa8; --c4: #6a5d00; --c5: #b0124f; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161b; --card: #1d2027; --ink: #e9ebee; --faint: #a2a9b5;
  --line: #343943; --c0: #6db3ff; --c1: #ffab66; --c2: #4fd6a5; --c3: #d99bf2; --c4: #e2d15a; --c5: #ff8ab3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 3vw, 3rem) 4rem; max-width: 1500px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .7rem; }
h3 { font-size: 1.02rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h3 small { color: var(--faint); font-weight: 400; }
header p, .note, figcaption { color: var(--faint); } p { margin: .3rem 0 .8rem; max-width: 100ch; }
.wide { overflow-x: auto; margin: .3rem 0 1rem; } section > h3, div + h3 { margin-top: 1.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .34rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { color: var(--faint); font-weight: 600; } th:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: 500; } tbody tr:first-child th { font-weight: 700; }
.facts th, .facts tbody tr:first-child th { font-weight: 500; color: var(--faint); vertical-align: top; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
.pair > figure { flex: 1 1 420px; max-width: 640px; } .pair > .wide { flex: 0 1 auto; }
figure { margin: 0; } figcaption { font-size: .88rem; }
.chart { width: 100%; height: auto; display: block; } .chart text { fill: var(--faint); font-size: 12px; }
.chart text.axis { fill: var(--ink); } .grid { stroke: var(--line); stroke-width: 1; }
.line { fill: none; stroke: var(--c); stroke-width: 2; } .mark, .bar { fill: var(--c); }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); } .s4 { --c: var(--c4); }
.s5 { --c: var(--c5); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; padding: 0; margin: 0 0 .6rem; }
.legend li { display: flex; align-items: center; gap: .45rem; }
.swatch { width: .85rem; height: .85rem; border-radius: 3px; outline: 1px solid var(--line); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem;
  margin: 0 0 1rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 220px), 1fr)); gap: .7rem; }
.pictures figure { max-width: 400px; } .pictures img { display: block; width: 100%; height: auto; border-radius: 4px; }
summary { cursor: pointer; color: var(--faint); } details .wide { margin-top: .5rem; }
@media print { .card, figure { break-inside: avoid; } }
"""
