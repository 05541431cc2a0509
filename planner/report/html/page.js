"use strict";
(function () {
  var root = document.documentElement;
  var specs = JSON.parse(document.getElementById("plots").textContent);
  var names = Object.keys(specs);
  root.dataset.plots = String(names.length);
  root.dataset.drawn = "0";
  if (!names.length) { return; }

  function config(width, narrow) {
    var font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
    var ink = "var(--ink)", soft = "var(--soft)", faint = "var(--faint)";
    return {
      background: "transparent",
      font: font,
      view: { stroke: "transparent" },
      axis: {
        labelColor: ink, titleColor: soft, gridColor: faint, domainColor: soft, tickColor: soft,
        labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", titlePadding: 8
      },
      axisYDiscrete: narrow
        ? { labelAlign: "left", labelPadding: -2, labelOffset: -19, labelLimit: width - 24, zindex: 1 }
        : { labelPadding: 8, labelLimit: 300 },
      scale: narrow ? { bandPaddingInner: 0.62, bandPaddingOuter: 0.5, pointPadding: 0.7 } : {},
      axisX: { labelOverlap: true },
      legend: {
        orient: "top", direction: "horizontal", columns: narrow ? 2 : 7, labelColor: ink, titleColor: soft,
        labelFontSize: 12, symbolSize: 110, labelLimit: 260
      },
      text: { fontSize: 12 }
    };
  }

  function draw(name) {
    var place = document.getElementById(name);
    var spec = specs[name];
    var narrow = place.clientWidth < 560;
    spec.config = config(place.clientWidth, narrow);
    if (narrow && spec.usermeta) { spec.height = spec.height * 1.75; }  // names stand above their bars
    return window.vegaEmbed(place, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom" }
    }).then(function () {
      root.dataset.drawn = String(Number(root.dataset.drawn) + 1);
    });
  }

  names.forEach(function (name) {
    draw(name).catch(function (error) {
      document.getElementById(name).textContent = "This plot could not be drawn; its table follows.";
      console.error(name, error);
    });
  });
})();
