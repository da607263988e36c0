import "./x.js"
