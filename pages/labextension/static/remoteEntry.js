// JupyterLab shows a picture of an output without its alternative text. This gives it the one in the output's metadata,
// {"image/png": {"alt": "..."}}. Written by hand as the container that JupyterLab loads extensions from: no build.
(() => {
  let shared;

  async function describePictures() {
    const [provided] = Object.values(shared["@jupyterlab/rendermime"]);
    const { RenderedImage } = (await provided.get())();
    const render = RenderedImage.prototype.render;
    RenderedImage.prototype.render = async function (model) {
      await render.call(this, model);
      const words = model.metadata[this.mimeType]?.alt;
      const picture = this.node.querySelector("img");
      if (words && picture) picture.alt = words;
    };
  }

  const plugin = { id: "course-pictures:plugin", autoStart: true, activate: describePictures };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["course-pictures"] = {
    init: (scope) => { shared = scope; },
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
