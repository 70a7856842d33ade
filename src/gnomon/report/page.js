(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const plots = [...document.querySelectorAll(".plot")];
  const draw = (which) => {
    for (const plot of which) {
      const source = plot.parentElement.querySelector("script").textContent
        .replaceAll(plot.dataset.accent, style("--accent-rgb"))
        .replaceAll(plot.dataset.grey, style("--grey-rgb"));
      const { data, layout } = JSON.parse(source);
      layout.font = { family: style("--sans"), size: 13, color: style("--ink") };
      layout.width = plot.clientWidth;
      layout.hoverlabel = { font: { family: style("--sans") } };
      Plotly.react(plot, data, layout, { displayModeBar: false });
    }
  };
  for (const medium of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(medium).addEventListener("change", () => draw(plots));
  }
  // The first observation comes at once and draws; later ones follow the width of the page.
  const widths = new ResizeObserver((entries) => requestAnimationFrame(() => {
    draw(entries.map((entry) => entry.target).filter((plot) => plot.clientWidth !== plot.layout?.width));
  }));
  for (const plot of plots) widths.observe(plot);
})();
