# The bridge for node-gyp and prebuildify: one target without sources whose action runs cmake-js, so that CMakeLists.txt stays the only build.
{ "targets": [{ "target_name": "addon", "type": "none", "actions": [{
  "action_name": "cmake",
  "inputs": ["CMakeLists.txt"],
  "outputs": ["<(module_root_dir)/build/Release/addon.node"],
  "action": ["node", "<!(node -p \"require.resolve('cmake-js/bin/cmake-js')\")", "compile",
             "-d", "<(module_root_dir)", "-O", "<(module_root_dir)/build-cmake"] }] }] }
