console.log(Object.keys(require.cache), Object.keys(require.extensions), require.resolve('./main.js'), module.children, module.parent);
